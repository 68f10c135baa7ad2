#include "attestations/signing_key.h"

#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>

#include "error.h"
#include "os/file.h"

// ECDSA with a nonce of one's own is deprecated since OpenSSL 3.0, which has nothing in its place (3.2 has).
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace nixery::attestations {

namespace {

template <auto free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using Number = std::unique_ptr<BIGNUM, Freer<BN_clear_free>>;
using Numbers = std::unique_ptr<BN_CTX, Freer<BN_CTX_free>>;
using Point = std::unique_ptr<EC_POINT, Freer<EC_POINT_clear_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using EcKey = std::unique_ptr<EC_KEY, Freer<EC_KEY_free>>;
using Signature = std::unique_ptr<ECDSA_SIG, Freer<ECDSA_SIG_free>>;

// 32 bytes that are wiped when they go: nonces and keys.
struct Secret : std::array<unsigned char, 32> {
  Secret() { fill(0); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { OPENSSL_cleanse(data(), size()); }
};

[[noreturn]] void fail(std::string_view what) {
  ERR_clear_error();
  throw Error(Failure::unavailable, fmt::format("cannot sign: {} failed", what));
}

void require(bool success, std::string_view what) {
  if (!success) fail(what);
}

// HMAC_K(V || parts…), the only step of RFC 6979's generator.
class Generator {
 public:
  Generator(const Secret& key, const Secret& digest) {
    value_.fill(1);
    mix(0, &key, &digest);
    mix(1, &key, &digest);
  }

  const Secret& next() {
    if (!fresh_) mix(0, nullptr, nullptr);
    fresh_ = false;
    hmac(value_.data(), value_.size(), value_);
    return value_;
  }

 private:
  void mix(unsigned char separator, const Secret* key, const Secret* digest) {
    std::array<unsigned char, 32 + 1 + 32 + 32> text{};
    std::size_t size = 0;
    const auto add = [&](const unsigned char* bytes, std::size_t count) {
      std::copy_n(bytes, count, text.begin() + static_cast<std::ptrdiff_t>(size));
      size += count;
    };
    add(value_.data(), value_.size());
    add(&separator, 1);
    if (key) add(key->data(), key->size());
    if (digest) add(digest->data(), digest->size());
    hmac(text.data(), size, key_);
    OPENSSL_cleanse(text.data(), text.size());
    hmac(value_.data(), value_.size(), value_);
  }

  void hmac(const unsigned char* text, std::size_t size, Secret& result) const {
    Secret made;  // the result may be the key or the text
    unsigned length = 0;
    require(HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), text, size, made.data(), &length) &&
                length == made.size(),
            "HMAC");
    std::copy(made.begin(), made.end(), result.begin());
  }

  Secret key_, value_;
  bool fresh_ = true;
};

// RFC 6979, 3.2, for a group whose order has as many bits as the digest.
Number nonce(const BIGNUM* private_key, const std::array<unsigned char, 32>& digest, const BIGNUM* order) {
  Secret key, reduced;
  require(BN_bn2binpad(private_key, key.data(), 32) == 32, "reading the key");
  Number number(BN_bin2bn(digest.data(), 32, nullptr));
  require(number != nullptr, "reading the digest");
  if (BN_cmp(number.get(), order) >= 0) require(BN_sub(number.get(), number.get(), order) == 1, "reducing the digest");
  require(BN_bn2binpad(number.get(), reduced.data(), 32) == 32, "reducing the digest");

  for (Generator generator(key, reduced);;) {
    Number candidate(BN_secure_new());
    require(candidate && BN_bin2bn(generator.next().data(), 32, candidate.get()), "making a nonce");
    BN_set_flags(candidate.get(), BN_FLG_CONSTTIME);
    if (!BN_is_zero(candidate.get()) && BN_cmp(candidate.get(), order) < 0) return candidate;
  }
}

// The x coordinate of k times the generator, modulo the order: the signature's first half.
Number first_half(const EC_GROUP* group, const BIGNUM* k, BN_CTX* context) {
  const Point point(EC_POINT_new(group));
  Number x(BN_new());
  require(point && x && EC_POINT_mul(group, point.get(), k, nullptr, nullptr, context) == 1 &&
              EC_POINT_get_affine_coordinates(group, point.get(), x.get(), nullptr, context) == 1 &&
              BN_nnmod(x.get(), x.get(), EC_GROUP_get0_order(group), context) == 1,
          "multiplying a point");
  return x;
}

// By Fermat, for that takes the same time whatever k is.
Number inverse(const BIGNUM* k, const BIGNUM* order, BN_CTX* context) {
  Number result(BN_secure_new()), exponent(BN_dup(order));
  require(result && exponent && BN_sub_word(exponent.get(), 2) == 1 &&
              BN_mod_exp_mont_consttime(result.get(), k, exponent.get(), order, context, nullptr) == 1,
          "inverting a nonce");
  return result;
}

std::string in_der(const ECDSA_SIG* signature) {
  unsigned char* bytes = nullptr;
  const int size = i2d_ECDSA_SIG(signature, &bytes);
  require(size > 0, "encoding");
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

int no_passphrase(char*, int, int, void*) {
  return -1;
}  // or OpenSSL would ask on the terminal

[[noreturn]] void refuse(std::string_view what, std::string_view why) {
  ERR_clear_error();
  throw Error(Failure::bad_config, fmt::format("signing key {}: {}", what, why));
}

}  // namespace

struct SigningKey::Impl {
  EcKey ec;
  std::string public_pem;
};

SigningKey SigningKey::from_file(const std::filesystem::path& file) {
  std::optional<std::string> pem;
  try {
    pem = os::read_if_exists(file);
  } catch (const Error& error) {
    refuse(file.string(), error.what());
  }
  if (!pem) refuse(file.string(), "there is no such file");
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
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) refuse(what, "that is no private key in PEM");
  char group[32] = "";
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key.get(), group, sizeof group, nullptr) != 1 ||
      std::string_view(group) != SN_X9_62_prime256v1)
    refuse(what, "give an ECDSA key on the curve P-256 (prime256v1)");
  auto impl = std::make_shared<Impl>();
  impl->ec.reset(EVP_PKEY_get1_EC_KEY(key.get()));
  const Bio text(BIO_new(BIO_s_mem()));
  if (!impl->ec || !EC_KEY_get0_private_key(impl->ec.get()) || EC_KEY_check_key(impl->ec.get()) != 1 || !text ||
      PEM_write_bio_PUBKEY(text.get(), key.get()) != 1)
    refuse(what, "the key's parts do not belong together");
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(text.get(), &bytes);
  impl->public_pem.assign(bytes, static_cast<std::size_t>(size));
  return SigningKey(std::move(impl));
}

std::string SigningKey::sign(std::string_view message) const {
  EC_KEY* const key = impl_->ec.get();
  const EC_GROUP* const group = EC_KEY_get0_group(key);
  const BIGNUM* const order = EC_GROUP_get0_order(group);
  const Numbers context(BN_CTX_secure_new());
  if (!context) throw std::bad_alloc();

  std::array<unsigned char, 32> digest;
  require(EVP_Digest(message.data(), message.size(), digest.data(), nullptr, EVP_sha256(), nullptr) == 1, "SHA-256");
  const Number k = nonce(EC_KEY_get0_private_key(key), digest, order);
  const Number r = first_half(group, k.get(), context.get());
  const Number inverse_k = inverse(k.get(), order, context.get());
  const Signature signature(ECDSA_do_sign_ex(digest.data(), 32, inverse_k.get(), r.get(), key));
  require(signature != nullptr, "ECDSA");
  // With a nonce that repeats, a signature gone wrong by a fault of the machine would give the key away.
  require(ECDSA_do_verify(digest.data(), 32, signature.get(), key) == 1, "checking the signature");
  return in_der(signature.get());
}

std::string SigningKey::public_key_pem() const {
  return impl_->public_pem;
}

}  // namespace nixery::attestations
