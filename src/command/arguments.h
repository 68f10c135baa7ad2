// The words behind a command's name, read by what the command says that it takes.
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

// Thrown for wrong words: the sentence and the command's synopsis are shown, and the exit status is 2.
struct Misuse {
  std::string reason;
};

// Views into the words: those must live longer.
class Arguments {
 public:
  // "--name VALUE" and "--name=VALUE" are the same; behind "--" is no option. Throws Misuse for an option that the
  // command does not have (with the one that was probably meant), and for a value that lacks or is too much.
  static Arguments parse(const Command& command, Words words);

  bool has(std::string_view option) const;
  // The last one given.
  std::optional<std::string_view> value(std::string_view option) const;
  std::vector<std::string_view> values(std::string_view option) const;
  std::string value_or(std::string_view option, std::string_view fallback) const;

  const std::vector<std::string_view>& operands() const { return operands_; }
  bool json() const { return has("--json"); }

 private:
  std::vector<std::pair<std::string_view, std::string_view>> options_;
  std::vector<std::string_view> operands_;
};

// The one operand of commands about an image. Throws Misuse for none, and for several.
std::string_view the_one_image(const Arguments& arguments);

}  // namespace nixery::command
