// Declared images: a JSON file gives an image a name, its packages and its config.
//
//   { "name": "web/frontend",                        required: a repository's name, as in an image name
//     "tag": "v1",                                   default: latest
//     "contents": ["nginx", "python3Packages.x"],    required: attribute paths of the package set
//     "platform": "arm64",                           arm64 or amd64; default: the registry's own
//     "source": "nixos-24.05",                       tag, branch or commit of the package source; default: latest
//     "config": { "entrypoint": ["nginx"],           [] for none; default: the image's
//                 "cmd": ["-g", "daemon off;"],
//                 "env": {"LANG": "C.UTF-8"},        or a list: ["LANG=C.UTF-8"]
//                 "user": "nobody",                  of accounts.h, uid or uid:gid: written as numbers
//                 "workdir": "/srv",
//                 "labels": {"team": "web"},
//                 "exposedPorts": ["80/tcp"],
//                 "volumes": ["/data"],
//                 "stopSignal": "SIGQUIT",           or its number: "3"
//                 "shell": ["/bin/bash", "-c"],      of RUN in a Dockerfile, and of CMD-SHELL
//                 "healthcheck": {                   Docker's: only Docker reads it from the OCI format
//                   "test": ["CMD", "curl", "-f", "http://localhost/"],
//                                                    or ["CMD-SHELL", "a command"], the same as "a command"; ["NONE"]
//                   "interval": "30s", "timeout": "5s", "startPeriod": "1m", "startInterval": "500ms",
//                   "retries": 3 } },
//     "users": [{ "name": "web", "uid": 101,         gid: default the uid; home: /home/NAME; shell: the image's /bin/sh
//                 "gid": 101, "home": "/srv", "shell": "/bin/bash" }],
//     "directories": [{ "path": "/srv", "owner": "web", "mode": "0750" }],          owner: default root; mode: 0755
//     "files": [{ "path": "/etc/web.conf", "content": "…", "owner": "0:web", "mode": "0640" }] }        mode: 0644
//
// Unknown and duplicate fields are errors. By default a container runs the first package of the contents.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/declared_config.h"
#include "reference/reference.h"

namespace nixery::reference {

inline constexpr std::size_t max_declared_bytes = 256 << 10;  // of a file
inline constexpr std::size_t max_text = 32 << 10;             // of an argument, a variable's value or a label's
// Label in the config of every declared image: the hash of the declaration that it was made from.
inline constexpr const char* declaration_label = "io.nixery.declaration";
inline constexpr std::size_t max_reported = 20;  // problems that are reported of one file

struct DeclaredImage {
  std::string name, tag;
  std::vector<AttributePath> contents;  // in the file's order, and in its case
  std::optional<Platform> platform;
  std::string source;  // empty: latest
  ImageConfig config;

  bool operator==(const DeclaredImage&) const = default;
};

// `file` names the file in messages. Throws Error{bad_config} with the first problem:
//   images/web.json: config.exposedPorts[1]: '80/http' is not a port: give a number from 1 to 65535, with /tcp, /udp or
//   …
// If there are several, detail() has one line for each.
DeclaredImage parse_declared(std::string_view text, std::string_view file);

// The name and tag of a declaration that parse_declared() refuses, as far as they can be read from it, also from text
// that is no JSON. nullopt if there is no valid name. An empty tag: it cannot be read.
struct DeclaredName {
  std::string name, tag;
};
std::optional<DeclaredName> name_in_invalid(std::string_view text);

// The Reference of a declared image. `hash` is that of its declaration.
Reference reference_of(const DeclaredImage& image, std::string hash);

// Everything except name and tag as canonical JSON: equal for equal images, regardless of how the file was written.
std::string canonical_json(const DeclaredImage& image);

}  // namespace nixery::reference
