# The directories of its plugins and settings are compiled in.
modules=$(echo "$out/lib/$triplet"/ImageMagick-*/modules-*)
settings=$out/etc/ImageMagick-6:$out/share/ImageMagick-6:$(echo "$out/lib/$triplet"/ImageMagick-*/config-*)
for file in "$out/bin"/*; do
  wrap "${file##*/}" MAGICK_CODER_MODULE_PATH="$modules/coders" MAGICK_CODER_FILTER_PATH="$modules/filters" \
    MAGICK_CONFIGURE_PATH="$settings"
done
