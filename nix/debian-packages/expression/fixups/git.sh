# The directories of its commands and of what `git init` copies are compiled in.
for program in git git-receive-pack git-shell git-upload-archive git-upload-pack scalar; do
  file=$out/lib/git-core/$program
  [ -e "$file" ] || mv "$out/bin/$program" "$file"
  wrap "$program=$file" GIT_EXEC_PATH="$out/lib/git-core" GIT_TEMPLATE_DIR="$out/share/git-core/templates"
done
