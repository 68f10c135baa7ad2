#include "store/store_path.h"

#include "text/ascii.h"

namespace nixery::store {

std::optional<StorePath> StorePath::parse(std::string_view absolute) {
  constexpr std::string_view base32 = "0123456789abcdfghijklmnpqrsvwxyz";  // nix's own alphabet: no e, o, t, u
  constexpr std::size_t name_at = store_dir.size() + 1 + 33;
  if (absolute.size() <= name_at || absolute.size() > name_at + 211) return std::nullopt;
  if (!absolute.starts_with(store_dir) || absolute[store_dir.size()] != '/' || absolute[name_at - 1] != '-')
    return std::nullopt;
  const std::string_view hash = absolute.substr(store_dir.size() + 1, 32);
  if (hash.find_first_not_of(base32) != hash.npos) return std::nullopt;
  const std::string_view name = absolute.substr(name_at);
  const auto valid = [](char c) {
    return text::is_alnum(c) || std::string_view("+-._?=").find(c) != std::string_view::npos;
  };
  if (!text::all(name, valid)) return std::nullopt;
  return StorePath(absolute);
}

}  // namespace nixery::store
