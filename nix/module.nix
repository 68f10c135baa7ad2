# NixOS module: the registry at a host name, behind nginx.
#
#   imports = [ nixery.nixosModules.default ];
#   services.nixery = { enable = true; hostName = "registry.example.org"; settings.NIXERY_CHANNEL = "nixos-unstable"; };
#   services.nginx.virtualHosts."registry.example.org" = { enableACME = true; forceSSL = true; };
{ config, lib, pkgs, ... }:

let
  cfg = config.services.nixery;
  nginx = config.services.nginx;
  inherit (lib) mkEnableOption mkIf mkOption types;

  useLog = "/var/log/nginx/nixery-use.log";
  snippets = "${cfg.package}/share/nixery/nginx";
  sources = builtins.filter (name: cfg.settings ? ${name}) [ "NIXERY_CHANNEL" "NIXERY_PKGS_REPO" "NIXERY_PKGS_PATH" ];
  # The units and nginx's configuration contain these values, too.
  fixed = builtins.filter (name: cfg.settings ? ${name}) [ "NIXERY_TREE" "NIXERY_STATE" "NIXERY_LISTEN" "NIXERY_USE_LOG" ];
  text = value: if value == true then "1" else if value == false then "0" else toString value;
in
{
  options.services.nixery = {
    enable = mkEnableOption "Nixery, a container registry that builds an image from its name";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = "pkgs.callPackage ./package.nix { }";
      description = "The package with the program, its units and nginx's snippets.";
    };

    hostName = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "registry.example.org";
      description = "nginx's virtual host for the registry; null: nginx is not configured.";
    };

    settings = mkOption {
      type = types.attrsOf (types.oneOf [ types.bool types.int types.str ]);
      default = { };
      example = { NIXERY_CHANNEL = "nixos-unstable"; NIXERY_GC_SECONDS = 86400; NIXERY_GC_MAX_AGE = "30d"; };
      description = ''
        Settings, as `nixery config` lists them. They are in the world-readable store, so name files for what is secret
        (NIXERY_PKGS_TOKEN_FILE, NIXERY_SIGNING_KEY), and let the user nixery alone read them.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      { assertion = builtins.length sources <= 1;
        message = "services.nixery.settings: a registry has one package source, not ${toString sources}"; }
      { assertion = fixed == [ ];
        message = "services.nixery.settings: ${toString fixed} cannot be set, because units and nginx name these places"; }
    ];

    users.users.nixery = { isSystemUser = true; group = "nixery"; home = "/var/lib/nixery"; };
    users.groups = { nixery = { }; nix-users = { }; };  # the unit is a member of nix-users, which is Debian's

    # The package's own units, with changes for NixOS.
    systemd.packages = [ cfg.package ];
    systemd.sockets.nixery = {
      wantedBy = [ "sockets.target" ];
      socketConfig.SocketGroup = if cfg.hostName == null then "nixery" else nginx.group;
    };
    systemd.services.nixery = {
      wantedBy = [ "multi-user.target" ];
      path = [ config.nix.package pkgs.git pkgs.openssh ];
      environment = builtins.mapAttrs (_: text) cfg.settings
        // (if cfg.hostName == null then { } else { NIXERY_USE_LOG = useLog; });
      serviceConfig = if cfg.hostName == null then { } else { SupplementaryGroups = [ nginx.group ]; };
    };
    # Like packaging/systemd/tmpfiles.conf: nginx may read the tree, nobody else the state.
    systemd.tmpfiles.rules = [
      "d /var/lib/nixery 0755 nixery nixery -"
      "d /var/lib/nixery/tree 0755 nixery nixery -"
      "d /var/lib/nixery/state 0700 nixery nixery -"
    ];

    services.nginx = mkIf (cfg.hostName != null) {
      enable = true;
      commonHttpConfig = ''
        include ${snippets}/nixery-http.conf;
        include ${snippets}/nixery-use.conf;
      '';
      virtualHosts = builtins.listToAttrs [ {
        name = if cfg.hostName == null then "" else cfg.hostName;
        value.extraConfig = "include ${snippets}/nixery-locations.conf;\n";
      } ];
    };
  };
}
