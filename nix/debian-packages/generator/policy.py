"""Where the set departs from what Debian's Depends say. Patterns are shell patterns on names of Debian packages."""

from __future__ import annotations

# Packages with no use in a store: what they do happens when dpkg installs a package or when init starts a service, and
# neither happens in a container image.
EXCLUDED = [
    "adduser",  # creates users at installation
    "base-files",  # /etc/os-release and the like: the image's business
    "base-passwd",  # /etc/passwd: the image's business
    "debconf",  # asks questions at installation
    "debconf-2.0",
    "debianutils",  # helpers of maintainer scripts
    "default-dbus-session-bus",  # a running desktop
    "default-logind",
    "dpkg",
    "emacsen-common",  # byte-compiles at installation
    "init-system-helpers",  # starts services
    "initscripts",
    "install-info",  # indexes at installation
    "libpam-runtime",  # configures logins
    "libpam-systemd",
    "logind",
    "lsb-base",  # helpers of init scripts
    "lsb-release",
    "mailcap",  # which program opens which attachment
    "media-types",
    "mime-support",
    "nix-setup-systemd",  # Nix's daemon and its users
    "passwd",
    "postgresql-client-common",  # chooses between clusters that Debian's scripts created
    "postgresql-common",
    "sensible-utils",
    "ssl-cert",  # makes a certificate at installation
    "systemd*",
    "sysvinit-utils",
    "tex-common",
    "ucf",  # merges configuration at upgrades
    "udev",
    "update-inetd",
    "x11-common",  # prepares a running X server
    "xml-core",  # registers at installation
]

# Packages that find one another under one common prefix (an interpreter and its library, an editor and its run time
# files) and so become one derivation, named after the first.
TOGETHER = [
    ["emacs-nox", "emacs-common", "emacs-bin-common"],
    ["fish", "fish-common"],
    ["git", "git-man"],
    ["graphviz", "libgvc6", "libgvc6-plugins-*"],
    ["imagemagick", "imagemagick-6-common", "imagemagick-6.q16"],
    ["libmagic1", "libmagic-mgc"],
    ["nginx", "nginx-common"],
    ["nodejs", "libnode[0-9]*", "node-acorn", "node-cjs-module-lexer", "node-undici"],
    ["perl", "perl-base", "perl-modules-*", "libperl[0-9]*"],
    ["postgresql-[0-9]*", "postgresql-client-[0-9]*"],
    ["python3", "python3-minimal", "python3.[0-9]*", "libpython3-stdlib", "libpython3.[0-9]*-minimal",
     "libpython3.[0-9]*-stdlib", "python3-distutils", "python3-lib2to3"],
    ["redis-server", "redis-tools"],
    ["ruby", "ruby[0-9]*", "libruby", "libruby[0-9]*", "ruby-rubygems", "rubygems-integration"],
    ["vim", "vim-common", "vim-runtime"],
    ["zsh", "zsh-common"],
]

# Debian takes these for granted, so no Depends names them: what programs need to draw on a terminal, and the shells
# that scripts start with, of which the first that has an `sh` is the one. Every package may use them; only those that
# do refer to them afterwards.
TAKEN_FOR_GRANTED = ["ncurses-base", "dash", "bash"]

# A package that depends on one of these brings modules, and needs those of all that it depends on.
INTERPRETERS = ["perl", "python3"]

# What update-alternatives does when Debian installs a package: PACKAGE -> { name: program }. Paths are below the
# derivation; those without a directory are below bin. {triplet} is the directory of the architecture's libraries.
ALTERNATIVES = {
    "dash": {"sh": "dash"},
    "bash": {"sh": "bash"},
    "mawk": {"awk": "mawk", "nawk": "mawk"},
    "gawk": {"awk": "gawk"},
    "gnu-which": {"which": "which.gnu"},
    "netcat-openbsd": {"nc": "nc.openbsd", "netcat": "nc.openbsd"},
    "emacs-nox": {"emacs": "emacs-nox", "emacsclient": "emacsclient.emacs", "etags": "etags.emacs",
                  "ebrowse": "ebrowse.emacs", "ctags": "ctags.emacs"},
    "vim": {name: "vim.basic" for name in ("vim", "vi", "view", "ex", "rvim", "rview", "vimdiff")},
    "imagemagick": {name: f"{name}-im6.q16" for name in (
        "animate", "compare", "composite", "conjure", "convert", "display", "identify", "import", "mogrify",
        "montage", "stream")},
    "libblas3": {"lib/{triplet}/libblas.so.3": "lib/{triplet}/blas/libblas.so.3"},
    "liblapack3": {"lib/{triplet}/liblapack.so.3": "lib/{triplet}/lapack/liblapack.so.3"},
}

# The program that a person means who names the package, where it is called otherwise.
MAIN_PROGRAMS = {
    "ca-certificates": "",  # certificates alone are left of it
    "imagemagick": "convert",
    "nodejs": "node",
    "openssh-client": "ssh",
    "perl": "perl",  # which is in perl-base
    "postgresql-15": "psql",
    "python3": "python3",  # which is in python3-minimal
}
