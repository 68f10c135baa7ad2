# What `dot -c` makes at installation: the list of plugins, which tells what dot can lay out and draw.
if [ "$triplet" = x86_64-linux-gnu ]; then
  "$out/bin/dot" -c
fi
