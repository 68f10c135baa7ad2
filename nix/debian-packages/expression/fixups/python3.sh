# python3 finds its standard library beside itself. This finds modules beside the bin/ that it was started from: in the
# root of an image, in the package of a module, in a profile. `site` then reads the .pth files there, which name the
# directories that those modules need in turn (see add_modules in builder.sh).
library=$(echo "$out"/lib/python3.*)
rm -rf "${out:?}/etc" "$library/sitecustomize.py"
cat > "$library/sitecustomize.py" << 'END'
import os
import site
import sys

modules = os.path.join(os.path.dirname(os.path.dirname(sys.executable)), "lib/python3/dist-packages")
if os.path.isdir(modules):
    site.addsitedir(modules)
END
# Byte-compiles at installation.
rm -f "$out/bin/py3compile" "$out/bin/py3clean" "$out/lib/binfmt.d/"*
