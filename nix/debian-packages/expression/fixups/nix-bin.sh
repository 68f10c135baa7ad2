# Where its own programs are is compiled in. What it is to do it knows from the name that it was started by.
for program in "$out"/bin/nix-* nix; do
  program=${program##*/}
  wrap "$program" NIX_BIN_DIR="$out/bin" NIX_LIBEXEC_DIR="$out/libexec"
done
[ ! -L "$out/libexec/nix/build-remote" ] || ln -sfn ../wrapped/nix "$out/libexec/nix/build-remote"
