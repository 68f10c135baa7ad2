#include "attestations/signing_key.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <new>
#include <optional>

#include "error.h"
#include "os/file.h"

namespace nixery::attestations {

namespace {

template <auto free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freer<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freer<EVP_MD_CTX_free>>;

constexpr std::size_t longest_signature = 72;  // two numbers of 33 bytes, in DER

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

DigestContext new_context() {
  DigestContext context(EVP_MD_CTX_new());
  if (!context) throw std::bad_alloc();
  return context;
}

int no_passphrase(char*, int, int, void*) {
  return -1;
}  // otherwise OpenSSL would prompt on the terminal

[[noreturn]] void refuse(std::string_view what, std::string_view why) {
  ERR_clear_error();
  throw Error(Failure::bad_config, fmt::format("signing key {}: {}", what, why));
}

}  // namespace

struct SigningKey::Impl {
  Key key;
  std::string public_pem;
};

SigningKey SigningKey::from_file(const std::filesystem::path& file) {
  std::optional<std::string> pem;
  try {
    pem = os::read_if_exists(file);
  } catch (const Error& error) {
    refuse(file.string(), error.what());
  }
  if (!pem) refuse(file.string(), "the file does not exist");
  struct Wipe {
    std::string& text;
    ~Wipe() { OPENSSL_cleanse(text.data(), text.size()); }
  } const wipe{*pem};
  return from_pem(*pem, file.string());
}

SigningKey SigningKey::from_pem(std::string_view pem, std::string_view what) {
  if (pem.find("ENCRYPTED") != pem.npos)
    refuse(what, "encrypted keys are not supported: decrypt it (openssl pkcs8) and let its file's mode protect it");
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) throw std::bad_alloc();
  auto impl = std::make_shared<Impl>();
  impl->key.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  EVP_PKEY* const key = impl->key.get();
  if (!key) refuse(what, "it is not a private key in PEM");
  char group[32] = "";
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) != 1 ||
      std::string_view(group) != SN_X9_62_prime256v1)
    refuse(what, "give an ECDSA key on the curve P-256 (prime256v1)");
  const KeyContext context(EVP_PKEY_CTX_new(key, nullptr));
  const Bio text(BIO_new(BIO_s_mem()));
  if (!context || EVP_PKEY_check(context.get()) != 1 || !text || PEM_write_bio_PUBKEY(text.get(), key) != 1)
    refuse(what, "the key's private and public parts do not match");
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(text.get(), &bytes);
  impl->public_pem.assign(bytes, static_cast<std::size_t>(size));
  return SigningKey(std::move(impl));
}

std::string SigningKey::sign(std::string_view message) const {
  const DigestContext context = new_context();
  std::string signature(longest_signature, '\0');
  std::size_t size = signature.size();
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, impl_->key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes_of(message),
                     message.size()) != 1) {
    ERR_clear_error();
    throw Error(Failure::unavailable, "cannot sign: OpenSSL fails");
  }
  signature.resize(size);
  return signature;
}

bool SigningKey::verify(std::string_view message, std::string_view signature) const {
  const DigestContext context = new_context();
  const bool valid =
      EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, impl_->key.get()) == 1 &&
      EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message), message.size()) == 1;
  ERR_clear_error();
  return valid;
}

std::string SigningKey::public_key_pem() const {
  return impl_->public_pem;
}

}  // namespace nixery::attestations
