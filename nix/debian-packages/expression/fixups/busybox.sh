# It acts as whatever it is called as. The names are one block of it, which can be read for a foreign architecture too.
tr '\000' '\n' < "$out/bin/busybox" |
  awk 'last == "[" && $0 == "[[" { print last; names = 1 } names { print } $0 == "zcat" { names = 0 } { last = $0 }' |
  while IFS= read -r applet; do
    [ -e "$out/bin/$applet" ] || ln -s busybox "$out/bin/$applet"
  done
[ -e "$out/bin/sh" ] || die "found no names in busybox"
