// The attribute names of a revision, read once: other names are refused without an evaluation.
//
// resolve.nix lists the names of a set when the first unknown name is looked up. They are cached in STATE/attributes,
// one file per set and revision with one name per line; a file that cannot be read is replaced by an evaluation.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"
#include "nix/nixpkgs_settings.h"
#include "nix/source.h"
#include "os/directory_limit.h"
#include "reference/platform.h"
#include "reference/reference.h"

namespace nixery::nix {

// Limits of all files of the directory. Clients choose the set, and sets nest infinitely (pkgs.pkgs.pkgs…).
inline constexpr os::DirectoryLimit attribute_names_limit{1000, 256u << 20};

// Thread-safe, and safe between processes.
class AttributeNames {
 public:
  // `directory` may be empty: then nothing is cached.
  AttributeNames(fs::path directory, const Revision& revision, const NixpkgsSettings& nixpkgs,
                 const reference::Platform& platform);

  // Throws Error{unknown_package} for the first of `paths` that is known not to exist.
  void refuse_unknown(const std::vector<reference::AttributePath>& paths) const;

  // All attributes of a set, "" for the outermost, with `set` in any case; nullopt if they are unknown. Throws like
  // refuse_unknown() if the set is known not to exist.
  std::optional<std::vector<std::string>> names(std::string_view set) const;

  // `names` are all attributes of the set `within`, as it is spelt; the outermost where that is empty. Names that
  // nobody can ask for are not kept.
  void remember(std::string_view within, const std::vector<std::string>& names) const;

 private:
  fs::path file_of(std::string_view within) const;
  std::optional<std::vector<std::string>> names_within(std::string_view within) const;
  // How `path` is spelt, component by component; nullopt where a set on the way is not known. Throws
  // Error{unknown_package}.
  std::optional<std::string> spelt(const std::string& path) const;

  const fs::path directory_;
  const std::string revision_;
  const std::string system_;
};

// "no package 'crul': did you mean 'curl'?" `names` are those of the set `within` in which the look-up ended,
// `outermost` those of the whole set. Names only what an image name can spell.
Error unknown_package(const std::string& requested, std::string_view within, const std::vector<std::string>& names,
                      const std::vector<std::string>& outermost);

}  // namespace nixery::nix
