// A path of the Nix store: /nix/store/<32 base-32 characters>-<name>.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace nixery::store {

inline constexpr std::string_view store_dir = "/nix/store";

class StorePath {
 public:
  // Exactly one store path, with nothing below it; nullopt for anything else.
  static std::optional<StorePath> parse(std::string_view absolute);

  const std::string& str() const { return path_; }  // "/nix/store/…-curl-8.0"
  std::string_view base_name() const { return std::string_view(path_).substr(store_dir.size() + 1); }  // "…-curl-8.0"
  std::string_view hash_part() const { return base_name().substr(0, 32); }
  std::string_view name() const { return base_name().substr(33); }  // "curl-8.0"

  auto operator<=>(const StorePath&) const = default;

 private:
  explicit StorePath(std::string_view path) : path_(path) {}
  std::string path_;
};

}  // namespace nixery::store
