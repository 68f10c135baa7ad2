# Builds one package, with stage0's busybox as shell and tools: nothing else exists here.
#
# A file is found under the same path as in Debian, without a leading usr/ and with sbin and games as bin. Everything in
# it that names an absolute path of Debian's, and that a program needs to be started, is pointed into the store: the
# loader and libraries of ELF files, the interpreters of scripts, absolute links. The references of the result, and so
# the closures that Nix computes, are just those.
#
# The closest to busybox that is known to shellcheck is dash; Nix puts the derivation's attributes into the environment.
# shellcheck shell=dash disable=SC2154
set -eu -o pipefail
umask 022

# Where a package is looked for in: itself, then what it depends on.
trees="$out $depends"
work=$NIX_BUILD_TOP

say() { echo "$pname: $*"; }
die() { say "$@" >&2; exit 1; }

patchelf() { "$stage0/ld-linux-x86-64.so.2" --library-path "$stage0" "$stage0/patchelf" "$@"; }

#
# Unpacking
#

unpack() {
  local deb member decompress program entry
  # usr/ and the root become one: tar follows this link.
  mkdir -p "$out/bin"
  ln -s . "$out/usr"
  for deb in $debs; do
    member=$(ar t "$deb" | grep '^data\.tar')
    case $member in
      *.xz) decompress="xzcat" ;;
      *.gz) decompress="zcat" ;;
      *.bz2) decompress="bzcat" ;;
      *.tar) decompress="cat" ;;
      *) die "cannot decompress $member of $deb" ;;
    esac
    # Not as root would: the store has no owners, and Nix refuses to set the setuid bits that --same-permissions would.
    ar p "$deb" "$member" | $decompress | tar -x -C "$out" --no-same-owner --no-same-permissions
  done
  chmod -R u+w "$out"
  rm "$out/usr"
  # So do the directories of programs; sbin may hold links to what is in bin under the same name.
  for program in "$out"/sbin/* "$out"/games/*; do
    if [ -e "$program" ] || [ -L "$program" ]; then
      [ -e "$out/bin/${program##*/}" ] || mv "$program" "$out/bin/"
    fi
  done

  # What only a whole Debian system has a use for: state, and what its init, cron, udev and dpkg start. lib64 is a link
  # to the loader that must never come to lie over a real one.
  for entry in "$out"/* "$out"/.[!.]*; do
    case ${entry##*/} in
      bin | lib | libexec | share | etc | include | opt) ;;
      *) rm -rf "$entry" ;;
    esac
  done
  for entry in etc/alternatives etc/apparmor.d etc/cron.d etc/cron.daily etc/cron.weekly etc/default etc/init.d \
    etc/ld.so.conf.d etc/logrotate.d etc/pam.d etc/ufw lib/debug lib/init lib/modprobe.d lib/systemd lib/sysusers.d \
    lib/tmpfiles.d lib/udev share/apport share/bug share/debianutils share/doc-base share/initramfs-tools \
    share/lintian share/menu; do
    rm -rf "${out:?}/$entry"
  done
  case " $outputs " in
    *" doc "*) ;;
    # What remains of the documentation is what its licences ask for.
    *) [ ! -d "$out/share/doc" ] || find "$out/share/doc" -mindepth 2 ! -name copyright ! -type d -exec rm {} + ;;
  esac
}

#
# Finding things
#

# Sets `found` to where Debian's absolute path $1 is in the store.
locate() {
  local path tree
  path=${1#/}
  path=${path#usr/}
  case $path in sbin/* | games/*) path=bin/${path#*/} ;; esac
  for tree in $trees; do
    found=$tree/$path
    if [ -e "$found" ] || [ -L "$found" ]; then return 0; fi
  done
  return 1
}

# Sets `found` to the program that a script calls $1. A package with modules of its own has, in libexec if not in bin,
# an interpreter that finds them.
locate_program() {
  local tree
  for tree in $trees; do
    for found in "$tree/bin/$1" "$tree/libexec/$1"; do
      if [ -f "$found" ] && [ -x "$found" ]; then return 0; fi
    done
  done
  return 1
}

# Sets `found` to the directory with the library $1; $2 are directories to look in first.
locate_library() {
  local tree
  for found in $2; do
    [ ! -e "$found/$1" ] || return 0
  done
  for tree in $trees; do
    for found in "$tree/lib/$triplet" "$tree/lib"; do
      [ ! -e "$found/$1" ] || return 0
    done
  done
  # A directory of the package's own, which its programs know to look in.
  found=$(find "$out" -name "$1" | sort | head -n 1)
  found=${found%/*}
  [ -n "$found" ]
}

#
# Links
#

# Sets `path` to what the link $1 with the target $2 means in Debian, below the root.
resolve_link() {
  local rest component
  case $2 in
    /*) path=$2 ;;
    *) path=${1%/*}/$2 ;;
  esac
  rest=$path/
  path=
  while [ -n "$rest" ]; do
    component=${rest%%/*}
    rest=${rest#*/}
    case $component in
      '' | .) ;;
      ..) case $path in */*) path=${path%/*} ;; *) path= ;; esac ;;
      *) path=${path:+$path/}$component ;;
    esac
  done
}

fix_links() {
  local link target path
  find "$out" -type l | while IFS= read -r link; do
    target=$(readlink "$link")
    resolve_link "${link#"$out"/}" "$target"
    case $target:$path in
      # Absolute, or through a directory that is elsewhere now.
      /* | *:usr/* | *:sbin/* | *:games/*) ;;
      # Still right, unless it leaves the package.
      *)
        if [ -e "$out/$path" ] && [ "$(readlink -f "$link")" = "$(readlink -f "$out/$path")" ]; then continue; fi
        ;;
    esac
    rm "$link"
    if locate "/$path" && [ "$found" != "$link" ]; then
      case $link in
        # A package may share the copyright file of another that it depends on, which is too little to depend on it for.
        "$out"/share/doc/*)
          if [ -e "$found/copyright" ]; then
            mkdir "$link"
            cp "$found/copyright" "$link/"
          fi
          ;;
        *) ln -s "$found" "$link" ;;
      esac
    else
      say "dropped the link ${link#"$out"/} to $target, which is in none of the dependencies"
    fi
  done
  # What pointed to a link that has been dropped.
  find "$out" -type l | while IFS= read -r link; do
    [ -e "$link" ] || rm "$link"
  done
}

add_alternatives() {
  local alternative link target
  for alternative in $alternatives; do
    link=${alternative%%=*}
    target=${alternative#*=}
    case $link in */*) ;; *) link=bin/$link ;; esac
    case $target in */*) ;; *) target=bin/$target ;; esac
    [ -e "$out/$target" ] || die "has no $target for the alternative $link"
    mkdir -p "$out/${link%/*}"
    if [ "${link%/*}" = "${target%/*}" ]; then target=${target##*/}; else target=$out/$target; fi
    ln -sf "$target" "$out/$link"
  done
}

#
# ELF files
#

fix_elf() {
  local file interpreter facts old_rpath needed rpath private directory library
  file=$1
  interpreter=
  # One call tells all; it fails for what has no interpreter (a library), and then for what is static or no program.
  if facts=$(patchelf --print-interpreter --print-rpath --print-needed "$file" 2>/dev/null); then
    interpreter=${facts%%"$newline"*}
    facts=${facts#*"$newline"}
  else
    facts=$(patchelf --print-rpath --print-needed "$file" 2>/dev/null) || return 0
  fi
  old_rpath=${facts%%"$newline"*}
  needed=
  case $facts in *"$newline"*) needed=${facts#*"$newline"} ;; esac
  [ -n "$interpreter$needed" ] || return 0

  # Directories that the file names itself come first: plugins and private libraries.
  rpath=
  IFS=:
  for directory in $old_rpath; do
    IFS=$whitespace
    # shellcheck disable=SC2016  # the loader's variable
    case $directory in
      '$ORIGIN'*) rpath=$rpath:$directory ;;
      *) ! locate "$directory" || rpath=$rpath:$found ;;
    esac
  done
  IFS=$whitespace
  private=$(echo "$rpath" | sed "s|\$ORIGIN|${file%/*}|g; s|:| |g")
  for library in $needed; do
    if ! locate_library "$library" "$private"; then
      # Debian only recommends what a plugin needs that most do without.
      say "${file#"$out"/} will not load: it needs $library, which is in none of the dependencies"
      continue
    fi
    case :$rpath: in *":$found:"*) ;; *) rpath=$rpath:$found ;; esac
    case $file:$library in "$out"/bin/*:libtinfo.so.* | "$out"/bin/*:libncurses*) draws=1 ;; esac
  done

  set -- --page-size "$pageSize"
  case ${interpreter##*/} in
    "$loader")
      locate_library "$loader" '' || die "${file#"$out"/} needs $loader"
      set -- "$@" --set-interpreter "$found/$loader"
      ;;
  esac
  patchelf "$@" --set-rpath "${rpath#:}" "$file"
}

#
# Scripts
#

fix_script() {
  local file line words program mentioned
  file=$1
  IFS= read -r line < "$file" || [ -n "$line" ]
  words=${line#'#!'}
  # shellcheck disable=SC2086  # the words of the line
  set -- $words
  [ $# -gt 0 ] || return 0
  program=$1
  shift
  if [ "${program##*/}" = env ] && [ $# -gt 0 ]; then
    [ "$1" != -S ] || shift
    program=$1
    shift
  fi
  if locate_program "${program##*/}"; then
    program=$found
  else
    # Perhaps the image has it: then it is there.
    program=/bin/${program##*/}
  fi
  # What the script itself calls by an absolute path.
  {
    grep -oE '(^|[^A-Za-z0-9_./}-])/(usr/)?(s?bin|lib|libexec|share)/[A-Za-z0-9_./+-]+' "$file" |
      sed 's|^[^/]||; s|[./]*$||' | sort -u
  } > "$work/paths" || true
  {
    echo "1s|.*|#!$program${*:+ $*}|"
    while IFS= read -r mentioned; do
      if locate "$mentioned"; then
        mentioned=$(echo "$mentioned" | sed 's|\.|\\.|g')
        echo "2,\$s|\\(^\\|[^A-Za-z0-9_./}-]\\)$mentioned\\($\\|[^A-Za-z0-9_+-]\\)|\\1$found\\2|g"
      fi
    done < "$work/paths"
  } > "$work/edits"
  sed -i -f "$work/edits" "$file"
}

fix_files() {
  local newline whitespace elf draws file magic
  newline='
'
  whitespace=$(printf ' \t\n.')
  whitespace=${whitespace%.}
  elf=$(printf '\177ELF')
  draws=
  find "$out" -type f | sort > "$work/files"
  while IFS= read -r file <&3; do
    # shellcheck disable=SC3045  # busybox has it
    IFS= read -r -n 4 magic < "$file" || continue
    case $magic in
      "$elf") fix_elf "$file" ;;
      '#!'*) [ ! -x "$file" ] || fix_script "$file" ;;
    esac
  done 3< "$work/files"
  # Where libtinfo looks, from the root of an image that this package is in, for how to draw on a terminal.
  if [ -n "$draws" ] && locate /lib/terminfo && [ ! -e "$out/lib/terminfo" ]; then
    mkdir -p "$out/lib"
    ln -s "$found" "$out/lib/terminfo"
  fi
}

#
# Modules
#

# python3 (through its sitecustomize) and perl (through its wrapper) look for modules beside the bin/ that they were
# started from, and there for lists of the directories that those modules need in turn. So a module is found in the
# image whose root it is linked into, and by the scripts of its own package; and it brings its interpreter along.
add_modules() {
  add_module_set python3 'lib/python3/dist-packages' 'lib/python3/dist-packages' "debian-depends-$pname.pth"
  add_module_set perl 'share/perl5' "share/perl5 lib/$triplet/perl5 lib/$triplet/perl5/5.*" "debian-depends/$pname"
}

# $1: the interpreter; $2: its directory of modules; $3: patterns of directories that it looks in; $4: the list's name
add_module_set() {
  local interpreter list tree pattern directory list_file
  # The interpreter itself: other modules have links to it.
  interpreter=
  for tree in $depends $closure; do
    case ${tree#*-} in "$1"-[0-9]*) interpreter=$tree/bin/$1 ;; esac
  done
  [ -n "$interpreter" ] || return 0
  list=
  for tree in $depends $closure; do
    [ "$tree/bin/$1" != "$interpreter" ] || continue
    for pattern in $3; do
      for directory in "$tree"/$pattern; do
        [ ! -d "$directory" ] || list="$list$directory
"
      done
    done
  done
  [ -n "$list" ] || [ -d "$out/$2" ] || return 0
  if [ -n "$list" ]; then
    mkdir -p "$out/$2"
    list_file=$out/$2/$4
    mkdir -p "${list_file%/*}"
    printf %s "$list" > "$list_file"
  fi
  case $pname in
    python3-* | lib*-perl) directory=$out/bin ;;
    # A program that happens to be written in that language: the image's interpreter is none of its business.
    *) directory=$out/libexec ;;
  esac
  mkdir -p "$directory"
  [ -e "$directory/$1" ] || ln -s "$interpreter" "$directory/$1"
}

#
# For fixups
#

# wrap PROGRAM[=FILE] VARIABLE=VALUE…: has bin/PROGRAM, or FILE in its place, started with variables that those of the
# user take precedence over.
wrap() {
  local program file assignment
  program=${1%%=*}
  case $1 in
    *=*)
      file=${1#*=}
      rm -f "$out/bin/$program"
      ;;
    *)
      # A link keeps its name, which is how such programs tell what they were called as.
      file=$out/libexec/wrapped/$program
      mkdir -p "$out/libexec/wrapped"
      mv "$out/bin/$program" "$file"
      ;;
  esac
  shift
  {
    shell_line
    for assignment in "$@"; do
      echo "export ${assignment%%=*}=\"\${${assignment%%=*}-${assignment#*=}}\""
    done
    echo "exec $file \"\$@\""
  } > "$out/bin/$program"
  chmod +x "$out/bin/$program"
}

shell_line() {
  locate_program sh || die "no shell for a wrapper"
  echo "#!$found"
}

# replace_string FILE OLD NEW: in a binary file, of which every byte stays where it is.
replace_string() {
  local offset text
  [ ${#3} -le ${#2} ] || die "$3 does not fit in the place of $2"
  strings -t d -n ${#2} "$1" | grep -F -- "$2" | while read -r offset text; do
    [ "$text" = "$2" ] || continue
    { printf %s "$3"; head -c $((${#2} - ${#3})) /dev/zero; } |
      dd of="$1" bs=1 seek="$offset" conv=notrunc 2>/dev/null
  done
}

#
# Outputs
#

split_outputs() {
  local output prefix
  for output in $outputs; do
    eval "prefix=\$$output"
    case $output in
      bin) move bin ;;
      man) move share/man ;;
      doc) move share/doc ;;
    esac
    mkdir -p "$prefix"
  done
}

move() {
  local link target
  [ -d "$out/$1" ] || return 0
  mkdir -p "$prefix/$1"
  mv "$out/$1"/* "$prefix/$1/"
  find "$prefix" -type l | while IFS= read -r link; do
    target=$(readlink "$link")
    case $target in ../*) ln -sfn "$out/${target##*../}" "$link" ;; esac
  done
}

unpack
fix_links
add_alternatives
add_modules
fix_files
# shellcheck disable=SC1090
[ -z "$fixup" ] || . "$fixup"
find "$out" -mindepth 1 -depth -type d -empty -exec rmdir {} \;
split_outputs
