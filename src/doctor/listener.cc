#include "doctor/listener.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "os/file.h"
#include "text/lines.h"
#include "text/number.h"

namespace nixery::doctor {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> fields_of(std::string_view line) {
  std::istringstream stream{std::string(line)};
  std::vector<std::string> fields;
  for (std::string field; stream >> field;) fields.push_back(field);
  return fields;
}

std::string text_of(const fs::path& file) {
  return os::read_if_readable(file).value_or("");
}

std::optional<ListeningProcess> holder_of(const std::vector<std::uint64_t>& inodes) {
  std::vector<std::string> wanted;
  for (const auto inode : inodes) wanted.push_back(fmt::format("socket:[{}]", inode));
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc", ignored)) {
    const auto pid = text::number<pid_t>(process.path().filename().string());
    if (!pid) continue;
    std::error_code gone;
    for (fs::directory_iterator fd(process.path() / "fd", gone), end; !gone && fd != end; fd.increment(gone)) {
      const auto target = fs::read_symlink(fd->path(), ignored).string();
      if (std::find(wanted.begin(), wanted.end(), target) == wanted.end()) continue;
      std::string name = text_of(process.path() / "comm");
      while (name.ends_with('\n')) name.pop_back();
      return ListeningProcess{*pid, std::move(name)};
    }
  }
  return std::nullopt;
}

}  // namespace

std::string ListeningProcess::str() const {
  return fmt::format("{} (process {})", program, pid);
}

std::vector<std::uint64_t> listening_inodes(std::string_view table, std::uint16_t port) {
  std::vector<std::uint64_t> inodes;
  text::for_each_line(table, [&](std::string_view line) {
    // "0: 0100007F:1F90 00000000:0000 0A … uid timeout inode …"; 0A is TCP_LISTEN
    const auto fields = fields_of(line);
    if (fields.size() < 10 || fields[3] != "0A") return;
    const auto colon = fields[1].rfind(':');
    if (colon == std::string::npos ||
        text::number<std::uint16_t>(std::string_view(fields[1]).substr(colon + 1), 16) != port)
      return;
    if (const auto inode = text::number<std::uint64_t>(fields[9])) inodes.push_back(*inode);
  });
  return inodes;
}

std::vector<std::uint64_t> listening_inodes(std::string_view table, std::string_view path) {
  constexpr const char* listens = "00010000";  // of the flags: SO_ACCEPTCON
  std::vector<std::uint64_t> inodes;
  text::for_each_line(table, [&](std::string_view line) {
    // "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/nixery.sock"
    const auto fields = fields_of(line);
    if (fields.size() < 8 || fields[3] != listens || !line.ends_with(fmt::format(" {}", path))) return;
    if (const auto inode = text::number<std::uint64_t>(fields[6])) inodes.push_back(*inode);
  });
  return inodes;
}

std::optional<ListeningProcess> listener_at(std::string_view address) {
  constexpr std::string_view unix_prefix = "unix:";
  if (address.starts_with(unix_prefix))
    return holder_of(listening_inodes(text_of("/proc/net/unix"), address.substr(unix_prefix.size())));
  const auto colon = address.rfind(':');
  const auto port = text::number<std::uint16_t>(colon == address.npos ? address : address.substr(colon + 1));
  if (!port) return std::nullopt;
  auto inodes = listening_inodes(text_of("/proc/net/tcp"), *port);
  const auto more = listening_inodes(text_of("/proc/net/tcp6"), *port);
  inodes.insert(inodes.end(), more.begin(), more.end());
  return holder_of(inodes);
}

}  // namespace nixery::doctor
