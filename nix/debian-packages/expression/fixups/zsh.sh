# The directories of its modules and functions are compiled in; in an image, this is the /etc/zsh/zshenv.
functions=$(find "$out/share/zsh/functions" -type d | sort | tr '\n' ' ')
mkdir -p "$out/etc/zsh"
cat >> "$out/etc/zsh/zshenv" <<END
module_path=($(echo "$out/lib/$triplet/zsh"/*))
fpath=(/share/zsh/site-functions /share/zsh/vendor-completions $functions)
END
