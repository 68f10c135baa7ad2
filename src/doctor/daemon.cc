#include "doctor/daemon.h"

#include <fmt/format.h>

#include <cstdint>

#include "doctor/stream.h"
#include "error.h"

namespace nixery::doctor {

namespace {

constexpr std::uint64_t client_magic = 0x6e697863, daemon_magic = 0x6478696f;
constexpr std::uint64_t version_1_33 = (1 << 8) | 33;  // from which on the daemon says its Nix's version

std::string number(std::uint64_t value) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

std::uint64_t receive_number(Stream& stream) {
  std::uint64_t value = 0;
  const std::string bytes = stream.receive(8);
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

std::string ask_daemon_version(const std::string& socket, std::chrono::seconds limit) {
  Stream stream("unix:" + socket, limit);
  stream.send(number(client_magic));
  if (receive_number(stream) != daemon_magic)
    throw Error(Failure::unavailable, fmt::format("what listens at {} is not nix-daemon", socket));
  const std::uint64_t theirs = receive_number(stream);
  // Our version, no processor to run on, no space to reserve.
  stream.send(number(version_1_33) + number(0) + number(0));
  if (theirs < version_1_33) return {};
  const std::uint64_t size = receive_number(stream);
  if (size > 256) throw Error(Failure::unavailable, fmt::format("nix-daemon at {} says nonsense", socket));
  return stream.receive(size);
}

}  // namespace nixery::doctor
