# Its directories of modules are compiled in: its own, and none where the store has modules. This adds those beside the
# bin/ that it was started from, and what they need in turn (see add_modules in builder.sh).
version=$(basename "$(echo "$out/share/perl"/5.*.*)")
mkdir -p "$out/libexec/wrapped"
mv "$out/bin/perl" "$out/libexec/wrapped/perl"
{
  shell_line
  cat <<END
case \$0 in /*) root=\${0%/*/*} ;; *) root= ;; esac
path=
for directory in "\$root/share/perl5" "\$root/lib/$triplet/perl5/${version%.*}" "\$root/lib/$triplet/perl5"; do
  [ ! -d "\$directory" ] || path=\$path\$directory:
done
for list in "\$root/share/perl5/debian-depends/"*; do
  [ ! -f "\$list" ] || while IFS= read -r directory; do
    case :\$path in *":\$directory:"*) ;; *) path=\$path\$directory: ;; esac
  done < "\$list"
done
path=\$path$out/lib/$triplet/perl/$version:$out/share/perl/$version:$out/lib/$triplet/perl-base
# Already there if one perl starts another.
case :\${PERL5LIB-}: in
  *":\$path:"*) ;;
  *) export PERL5LIB="\${PERL5LIB:+\$PERL5LIB:}\$path" ;;
esac
exec $out/libexec/wrapped/perl "\$@"
END
} > "$out/bin/perl"
chmod +x "$out/bin/perl"
# Another name of the same program, under which it would find nothing.
ln -sf perl "$out/bin/perl$version"
