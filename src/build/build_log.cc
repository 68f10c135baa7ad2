#include "build/build_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "os/file.h"

namespace nixery::build {

BuildLog::BuildLog(const std::filesystem::path& path) {
  os::make_directories(path.parent_path());
  fd_ = os::Fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
}

void BuildLog::line(std::string_view text) const {
  if (!fd_) return;
  const std::string whole = fmt::format("{}\n", text);
  [[maybe_unused]] const auto written = write(fd_.get(), whole.data(), whole.size());
}

nix::Attendance BuildLog::attend(Progress& progress, const std::atomic<bool>* stop, std::string prefix) const {
  return {[this, &progress, prefix = std::move(prefix)](std::string_view text) {
            line(prefix + std::string(text));
            if (std::string step = step_of_nix_line(text); !step.empty()) progress.step(std::move(step));
          },
          stop};
}

}  // namespace nixery::build
