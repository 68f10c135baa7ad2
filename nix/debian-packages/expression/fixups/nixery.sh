# Where its files are is compiled in, and nginx's configuration says where the web page is.
wrap nixery NIXERY_RESOLVE_NIX="$out/share/nixery/resolve.nix"
sed -i "s|/usr/share/nixery|$out/share/nixery|g" "$out/share/nixery/nginx/nixery-http.conf"
# The settings of a Debian machine's service: in an image, /etc/nixery is not this package's.
rm -rf "$out/etc"
