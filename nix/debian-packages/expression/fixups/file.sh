# The path of its database is compiled in.
locate /usr/lib/file/magic.mgc || die "no magic.mgc"
wrap file MAGIC="$found"
