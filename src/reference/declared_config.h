// A declared image's container config. Every field is optional.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reference/root_additions.h"

namespace nixery::reference {

inline constexpr std::size_t max_arguments = 256;  // of cmd, and of entrypoint
inline constexpr std::size_t max_variables = 256;
inline constexpr std::size_t max_labels = 256;
inline constexpr std::size_t max_ports = 128;
inline constexpr std::size_t max_volumes = 128;
inline constexpr std::uint32_t max_retries = 1000;  // of a health check

// Docker's HEALTHCHECK. The OCI format has none: of its clients, only Docker reads it.
struct Healthcheck {
  // ["CMD", program, argument, …], ["CMD-SHELL", command], or ["NONE"].
  std::vector<std::string> test;
  std::chrono::milliseconds interval{0}, timeout{0}, start_period{0}, start_interval{0};  // 0: the client's default
  std::uint32_t retries = 0;                                                              // 0: the client's default

  bool operator==(const Healthcheck&) const = default;
};

struct ImageConfig {
  // nullopt: the image's own default. Empty: none.
  std::optional<std::vector<std::string>> entrypoint, cmd;
  std::map<std::string, std::string> env;
  std::string user;  // "65534:65534" or "1000": numbers, so that Kubernetes' runAsNonRoot can check it; empty: not set
  std::string workdir;  // empty: not set
  std::map<std::string, std::string> labels;
  std::vector<std::string> exposed_ports;  // "80/tcp", ascending, each once
  std::string stop_signal;                 // "SIGQUIT" or "3"; empty: not set
  std::vector<std::string> volumes;        // absolute paths, ascending, each once
  std::optional<Healthcheck> healthcheck;
  std::vector<std::string> shell;  // of RUN and CMD-SHELL; empty: not set. Docker's, as the health check.

  RootAdditions additions;  // beside `config` in the file

  bool operator==(const ImageConfig&) const = default;
};

// A Reference's part about the declared image that it names.
struct Declaration {
  ImageConfig config;
  std::string source;  // tag or revision of the package source; empty: its latest
  std::string hash;    // 64 hex: changes with the declaration
};

}  // namespace nixery::reference
