# The directory of its run time files is compiled in.
for program in ex rview rvim vi view vim vimdiff vim.basic; do
  wrap "$program" VIM="$out/share/vim" VIMRUNTIME="$(echo "$out/share/vim"/vim[0-9]*)"
done
