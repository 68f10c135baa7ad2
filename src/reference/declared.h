// Declared images: a JSON file each, which gives a name of its own to packages and to how they are started.
//
//   { "name": "web/frontend",                        required: a repository's name, as in an image name
//     "tag": "v1",                                   latest where it is left out
//     "contents": ["nginx", "python3Packages.x"],    required: attribute paths of the package set
//     "platform": "arm64",                           arm64 or amd64; the registry's own where it is left out
//     "source": "nixos-24.05",                       tag, branch or commit of the package source; latest likewise
//     "config": { "entrypoint": ["nginx"],           [] for none; the image's default where it is left out
//                 "cmd": ["-g", "daemon off;"],
//                 "env": {"LANG": "C.UTF-8"},        or a list: ["LANG=C.UTF-8"]
//                 "user": "101:101",                 name, uid or uid:gid
//                 "workdir": "/srv",
//                 "labels": {"team": "web"},
//                 "exposedPorts": ["80/tcp"] } }
//
// A field that is not in this list is an error, and so is one that is given twice. The first of the contents is what
// runs where nothing says otherwise.
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
inline constexpr std::size_t max_arguments = 256;             // of cmd, and of entrypoint
inline constexpr std::size_t max_variables = 256;
inline constexpr std::size_t max_labels = 256;
inline constexpr std::size_t max_ports = 128;
// A label of the config of every image that was declared, with the declaration's hash: which one it was made from.
inline constexpr const char* declaration_label = "io.nixery.declaration";
inline constexpr std::size_t max_told = 20;  // problems of one file that are told apart; contents: max_packages

struct DeclaredImage {
  std::string name, tag;
  std::vector<AttributePath> contents;  // in the file's order, and in its case
  std::optional<Platform> platform;
  std::string source;  // empty: latest
  ImageConfig config;

  bool operator==(const DeclaredImage&) const = default;
};

// `file` is how messages name it. Throws Error{bad_config} with the first problem:
//   images/web.json: config.exposedPorts[1]: '80/http' is no port: give a number from 1 to 65535, with /tcp, /udp or …
// Where there are more, detail() has all of them, a line each.
DeclaredImage parse_declared(std::string_view text, std::string_view file);

// As the rest of the system knows it. `hash` is of what is declared.
Reference reference_of(const DeclaredImage& image, std::string hash);

// All but name and tag as JSON, with everything in a fixed order: equal for equal images, however they were written.
std::string canonical_json(const DeclaredImage& image);

}  // namespace nixery::reference
