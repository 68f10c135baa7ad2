// Content digests (OCI image-spec, descriptor.md "Digests"): SHA-256 only.
#pragma once

#include <compare>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nixery::image {

// "sha256:<64 lower-case hex>". Made only by parse(), of() or Sha256::finish(), so an invalid digest cannot exist.
class Digest {
 public:
  static std::optional<Digest> parse(std::string_view text);      // "sha256:ab12…"
  static std::optional<Digest> parse_hex(std::string_view text);  // "ab12…"
  static Digest of(std::string_view bytes);

  const std::string& hex() const { return hex_; }
  std::string str() const { return "sha256:" + hex_; }

  auto operator<=>(const Digest&) const = default;

 private:
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}
  friend class Sha256;
  std::string hex_;
};

// An incremental SHA-256 (FIPS 180-4) by OpenSSL. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void update(std::string_view bytes);
  Digest finish();  // call it once; afterwards the object is unusable

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// A cache key: SHA-256 over length-prefixed fields, so that ("a","bc") and ("ab","c") differ.
class KeyBuilder {
 public:
  explicit KeyBuilder(std::string_view kind) { add(kind); }
  KeyBuilder& add(std::string_view field);
  std::string finish() { return hash_.finish().hex(); }  // 64 hex

 private:
  Sha256 hash_;
};

}  // namespace nixery::image
