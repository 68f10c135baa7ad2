// Validators for the fields of a declared image. Pure.
#pragma once

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

// "www-data", "101" or "101:101"; numbers up to 4294967294, as the last one means "unchanged" to chown(2).
bool is_user(std::string_view text);

// Absolute, printable, without ".." and at most 4095 bytes.
bool is_workdir(std::string_view text);

// "80", "80/tcp", "53/udp", "9/sctp" -> with its protocol, which is tcp if none is given. No leading zeros.
std::optional<std::string> port_of(std::string_view text);

}  // namespace nixery::reference
