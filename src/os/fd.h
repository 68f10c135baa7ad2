// An owned file descriptor. Plain RAII; not thread-safe.
#pragma once

#include <utility>

namespace nixery::os {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

// Opens those of descriptors 0 to 2 that the parent process has closed on /dev/null, so that no file or socket gets
// their numbers. Standard output is opened read-only, so that writing to it fails instead of losing the output.
void open_standard_descriptors();

}  // namespace nixery::os
