// Validators for the fields of a declared image. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace nixery::reference {

// component("."component)*, at most 255 bytes and 8 components; a component is [A-Za-z0-9_][A-Za-z0-9_'+-]*: Nix's
// identifiers, and the few in nixpkgs that need quotes ("3to2"). Paths are only compared, never evaluated as code.
bool is_attribute_path(std::string_view text);

// [A-Za-z_.-][A-Za-z0-9_.-]*, at most 255 bytes: what Kubernetes allows, which is more than shells can use.
bool is_variable_name(std::string_view text);

// Letters and digits, with '.', '_', '-' and '/' between them, at most 255 bytes.
bool is_label_name(std::string_view text);

// Absolute, printable, without ".." and at most 4095 bytes.
bool is_workdir(std::string_view text);

// "80", "80/tcp", "53/udp", "9/sctp" -> with its protocol, which is tcp if none is given. No leading zeros.
std::optional<std::string> port_of(std::string_view text);

// "SIGTERM", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-1", or a number from 1 to 64.
bool is_signal(std::string_view text);

// "30s", "1m30s", "500ms", as in a Dockerfile's HEALTHCHECK: 1 ms to 24 hours.
std::optional<std::chrono::milliseconds> healthcheck_time(std::string_view text);

// Why this cannot be the path of something in an image; nullopt if it can. It must be absolute and normalised, and not
// lie in /nix, /proc, /sys or /dev, which belong to the packages and the container runtime. At most 4095 bytes.
std::optional<std::string> problem_of_image_path(std::string_view path);

}  // namespace nixery::reference
