// Parses the arguments of a command by the command's declaration.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nixery::command {

using Words = std::span<const std::string_view>;

struct Command;

// Thrown for wrong arguments: the message and the command's synopsis are printed, and the exit status is 2.
struct Misuse {
  std::string reason;
};

// Holds views into the words, which must outlive it.
class Arguments {
 public:
  // "--name VALUE" and "--name=VALUE" are equivalent; "--" ends the options. Throws Misuse for an unknown option (with
  // the nearest known one) and for a missing or superfluous value.
  static Arguments parse(const Command& command, Words words);

  bool has(std::string_view option) const;
  // The last value given.
  std::optional<std::string_view> value(std::string_view option) const;
  std::vector<std::string_view> values(std::string_view option) const;
  std::string value_or(std::string_view option, std::string_view fallback) const;

  const std::vector<std::string_view>& operands() const { return operands_; }
  bool json() const { return has("--json"); }

 private:
  std::vector<std::pair<std::string_view, std::string_view>> options_;
  std::vector<std::string_view> operands_;
};

// The only operand of commands about one image. Throws Misuse for none or several.
std::string_view the_one_image(const Arguments& arguments);

}  // namespace nixery::command
