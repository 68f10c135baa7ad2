# Nixery as a package of nixpkgs: pkgs.callPackage ./package.nix { }
{ lib, stdenv, meson, ninja, pkg-config, python3, makeWrapper
, curl, fcgi, fmt, libarchive, libdeflate, libyaml, openssl, rapidjson, zstd
, nix, git, openssh, cacert
}:

stdenv.mkDerivation {
  pname = "nixery";
  version = builtins.head (builtins.match "project\\('nixery', 'cpp',[ \n]*version: '([^']*)'.*" (builtins.readFile ../meson.build));

  src = import ./source.nix;

  nativeBuildInputs = [ meson ninja pkg-config python3 makeWrapper ];
  buildInputs = [ curl fcgi fmt libarchive libdeflate libyaml openssl rapidjson zstd ];
  mesonFlags = [ "-Dtests=false" ];
  postPatch = "patchShebangs packaging";

  # The programs that a worker runs, and its CA certificates; a service's own PATH takes precedence.
  postInstall = ''
    mv $out/share/zsh/vendor-completions $out/share/zsh/site-functions  # Debian's name -> nixpkgs' name
    wrapProgram $out/bin/nixery --suffix PATH : ${lib.makeBinPath [ nix git openssh ]} \
      --set-default SSL_CERT_FILE ${cacert}/etc/ssl/certs/ca-bundle.crt
  '';

  meta = {
    description = "Container registry that builds an image from its name when it is pulled";
    license = lib.licenses.asl20;
    platforms = [ "x86_64-linux" "aarch64-linux" ];
    mainProgram = "nixery";
  };
}
