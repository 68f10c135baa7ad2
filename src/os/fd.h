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

// Opens descriptors 0 to 2, if the parent process has closed them, so that no file or socket takes their place: on
// /dev/null, and in such a way that what would be lost on standard output is an error.
void open_standard_descriptors();

}  // namespace nixery::os
