#include "image/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <new>

namespace nixery::image {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() {
    if (!evp || EVP_DigestInit_ex(evp, EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  ~Context() { EVP_MD_CTX_free(evp); }
};

std::optional<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view prefix = "sha256:";
  if (!text.starts_with(prefix)) return std::nullopt;
  return parse_hex(text.substr(prefix.size()));
}

std::optional<Digest> Digest::parse_hex(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (text.size() != 64 || !std::all_of(text.begin(), text.end(), is_hex)) return std::nullopt;
  return Digest(std::string(text));
}

Digest Digest::of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::string_view bytes) {
  EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size());
}

Digest Sha256::finish() {
  unsigned char raw[32];
  EVP_DigestFinal_ex(context_->evp, raw, nullptr);
  std::string hex;
  hex.reserve(64);
  for (const unsigned char byte : raw) fmt::format_to(std::back_inserter(hex), "{:02x}", byte);
  return Digest(std::move(hex));
}

KeyBuilder& KeyBuilder::add(std::string_view field) {
  hash_.update(fmt::format("{}:", field.size()));
  hash_.update(field);
  return *this;
}

}  // namespace nixery::image
