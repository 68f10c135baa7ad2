# Compiled queries need all of LLVM; nixpkgs does without, too.
rm -rf "$out/lib/postgresql/15/lib/bitcode" "$out/lib/postgresql/15/lib/llvmjit.so"

# Debian's wrappers, which choose among versions, are not here: these programs are found under their own names.
for program in "$out/lib/postgresql/15/bin"/*; do
  ln -s "../lib/postgresql/15/bin/${program##*/}" "$out/bin/${program##*/}"
done
