// Captures the log output of code under test.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "os/fd.h"
#include "os/file.h"
#include "temporary_directory.h"

namespace nixery::test {

template <typename Write>
std::string logged(Write&& write) {
  const TemporaryDirectory dir;
  const auto file = dir.path() / "log";
  const os::Fd before(dup(STDERR_FILENO)), instead(open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  dup2(instead.get(), STDERR_FILENO);
  write();
  dup2(before.get(), STDERR_FILENO);
  return *os::read_if_exists(file);
}

}  // namespace nixery::test
