# Parts of its own JavaScript are read from files whose paths are compiled in, and too short for one in the store. They
# come to be relative to a directory that the program is started with, as an open file.
for library in "$out/lib/$triplet"/libnode.so.*; do
  strings -n 16 "$library" | grep '^/usr/share/nodejs/' | sort -u | while IFS= read -r path; do
    replace_string "$library" "$path" "/proc/self/fd/9/${path#/usr/share/nodejs/}"
  done
done
rm -f "$out/bin/nodejs"
mkdir -p "$out/libexec/wrapped"
mv "$out/bin/node" "$out/libexec/wrapped/node"
# It keeps open files from the processes it starts; when it starts itself, that has to be this wrapper.
echo "process.execPath = '$out/bin/node';" > "$out/libexec/wrapped/node.js"
{
  shell_line
  echo "exec 9< $out/share/nodejs"
  echo "exec $out/libexec/wrapped/node --require $out/libexec/wrapped/node.js \"\$@\""
} > "$out/bin/node"
chmod +x "$out/bin/node"
ln -s node "$out/bin/nodejs"
