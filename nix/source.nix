# The files that the package and the image depend on, so that other changes cause no rebuild.
let
  hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
  removePrefix = prefix: text: builtins.substring (builtins.stringLength prefix) (-1) text;
  parts = [
    "/meson.build" "/meson_options.txt" "/src" "/nginx"
    "/nix/overlay.nix" "/nix/package.nix" "/nix/resolve.nix" "/nix/source.nix"
    "/packaging/completions" "/packaging/container" "/packaging/image" "/packaging/man"
    "/packaging/monitoring" "/packaging/systemd"
  ];
  # Directories above a part are included.
  isPart = path: builtins.any (part: part == path || hasPrefix "${part}/" path || hasPrefix "${path}/" part) parts;
in
builtins.path {
  name = "nixery-source";
  path = ./..;
  filter = path: _: isPart (removePrefix (toString ./..) (toString path));
}
