# Its directories of modules are compiled in. Gems are found in the root of an image, too.
library=$(echo "$out/lib/ruby"/[0-9]*)
version=${library##*/}
program=$(readlink "$out/bin/ruby")
rm "$out/bin/ruby"
mv "$out/bin/$program" "$out/bin/ruby"
wrap ruby RUBYLIB="$out/lib/ruby/vendor_ruby:$library:$out/lib/$triplet/ruby/$version" \
  GEM_PATH="/share/rubygems-integration/all:$out/share/rubygems-integration/all:$out/lib/ruby/gems/$version"
ln -s ruby "$out/bin/$program"
