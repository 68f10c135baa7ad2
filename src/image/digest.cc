#include "image/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <new>

#include "text/encoding.h"

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
  if (!text::is_hex(text, 64)) return std::nullopt;
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
  std::string raw(32, '\0');
  EVP_DigestFinal_ex(context_->evp, reinterpret_cast<unsigned char*>(raw.data()), nullptr);
  return Digest(text::hex(raw));
}

KeyBuilder& KeyBuilder::add(std::string_view field) {
  hash_.update(fmt::format("{}:", field.size()));
  hash_.update(field);
  return *this;
}

}  // namespace nixery::image
