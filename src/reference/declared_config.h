// A declared image's container config. Every field is optional.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace nixery::reference {

struct ImageConfig {
  // nullopt: the image's own default. Empty: none.
  std::optional<std::vector<std::string>> entrypoint, cmd;
  std::map<std::string, std::string> env;
  std::string user, workdir;  // empty: not set
  std::map<std::string, std::string> labels;
  std::vector<std::string> exposed_ports;  // "80/tcp", ascending, each once

  bool operator==(const ImageConfig&) const = default;
};

// A Reference's part about the declared image that it names.
struct Declaration {
  ImageConfig config;
  std::string source;  // tag or revision of the package source; empty: its latest
  std::string hash;    // 64 hex: changes with the declaration
};

}  // namespace nixery::reference
