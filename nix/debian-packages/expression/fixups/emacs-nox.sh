# The directories of its Lisp are compiled in. Its dumped state lies beside it, and names compiled Lisp relative to it.
lisp=$(echo "$out/share/emacs"/[0-9]*)
programs=$(echo "$out/libexec/emacs"/*/"$triplet")
for program in emacs emacs-nox; do
  wrap "$program" EMACSLOADPATH="$lisp/lisp" EMACSDATA="$lisp/etc" EMACSDOC="$lisp/etc" EMACSPATH="$programs"
done
ln -s "$programs/emacs.pdmp" "$out/libexec/wrapped/emacs-nox.pdmp"
ln -s ../lib "$out/libexec/lib"
