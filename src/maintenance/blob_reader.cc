#include "maintenance/blob_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <vector>

namespace nixery::maintenance {

namespace {

constexpr std::size_t read_step = 256 << 10;  // bytes

class Pass {
 public:
  Pass(int fd, const std::function<void(std::size_t)>& advance) : fd_(fd), advance_(advance), buffer_(read_step) {}

  // The next bytes, hashed; empty at the end or if the disk fails.
  std::string_view next() {
    for (;;) {
      const ssize_t n = read(fd_, buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) error_ = errno;
      if (n <= 0) return {};
      const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(n));
      hash_.update(bytes);
      advance_(bytes.size());
      return bytes;
    }
  }
  int error() const { return error_; }
  image::Digest finish() { return hash_.finish(); }

 private:
  const int fd_;
  const std::function<void(std::size_t)>& advance_;
  std::vector<char> buffer_;
  image::Sha256 hash_;
  int error_ = 0;
};

la_ssize_t give_next(archive* reader, void* pass, const void** buffer) {
  const std::string_view bytes = static_cast<Pass*>(pass)->next();
  *buffer = bytes.data();
  if (const int error = static_cast<Pass*>(pass)->error()) {
    archive_set_error(reader, error, "%s", "the disk fails");
    return -1;
  }
  return static_cast<la_ssize_t>(bytes.size());
}

// libarchive reads concatenated gzip members and zstd frames as one stream.
std::optional<image::Digest> digest_of_tar(Pass& pass) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_entry* entry = nullptr;
  if (!reader || archive_read_support_filter_gzip(reader.get()) != ARCHIVE_OK ||
      archive_read_support_filter_zstd(reader.get()) != ARCHIVE_OK ||
      archive_read_support_format_raw(reader.get()) != ARCHIVE_OK ||
      archive_read_open(reader.get(), &pass, nullptr, give_next, nullptr) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK || archive_filter_count(reader.get()) < 2)
    return std::nullopt;
  image::Sha256 hash;
  std::vector<char> buffer(read_step);
  for (;;) {
    const la_ssize_t n = archive_read_data(reader.get(), buffer.data(), buffer.size());
    if (n < 0) return std::nullopt;
    if (n == 0) return hash.finish();
    hash.update({buffer.data(), static_cast<std::size_t>(n)});
  }
}

}  // namespace

BlobContents read_blob(const os::Fd& blob, bool decompress, const std::function<void(std::size_t)>& advance) {
  Pass pass(blob.get(), advance);
  BlobContents contents;
  if (decompress) contents.diff_id = digest_of_tar(pass);
  while (!pass.next().empty()) {  // reads to the end, also behind the archive
  }
  if (pass.error() != 0) return {{}, std::generic_category().message(pass.error()), {}};
  contents.digest = pass.finish();
  return contents;
}

}  // namespace nixery::maintenance
