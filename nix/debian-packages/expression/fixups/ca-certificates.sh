# What update-ca-certificates makes when Debian installs the package, under Nix's name for it and Debian's. The rest
# (the single certificates, the scripts) would only repeat it.
mkdir -p "$out/etc/ssl/certs"
for certificate in $(find "$out/share/ca-certificates" -name '*.crt' | sort); do
  cat "$certificate"
  echo
done | grep -v '^$' > "$out/etc/ssl/certs/ca-bundle.crt"
ln -s ca-bundle.crt "$out/etc/ssl/certs/ca-certificates.crt"
rm -rf "${out:?}/bin" "$out/share/ca-certificates" "$out/share/man" "$out/etc/ca-certificates" "$out/libexec"
