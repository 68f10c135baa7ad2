// What a declared image says about the containers that are started from it. All of it may be left out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace nixery::reference {

struct ImageConfig {
  // Not there: the image's own default holds. Empty: none at all.
  std::optional<std::vector<std::string>> entrypoint, cmd;
  std::map<std::string, std::string> env;
  std::string user, workdir;  // empty: not said
  std::map<std::string, std::string> labels;
  std::vector<std::string> exposed_ports;  // "80/tcp", ascending, each once

  bool operator==(const ImageConfig&) const = default;
};

// What a Reference carries of the declared image that it names.
struct Declaration {
  ImageConfig config;
  std::string source;  // tag or revision of the package source; empty: its latest
  std::string hash;    // 64 hex: another one wherever what is declared differs
};

}  // namespace nixery::reference
