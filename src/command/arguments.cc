#include "command/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "command/command.h"
#include "reference/near_matches.h"

namespace nixery::command {

namespace {

const Option& find_option(const Command& command, std::string_view name) {
  std::vector<std::string> names;
  for (const Option& option : command.options) {
    if (option.name == name) return option;
    names.emplace_back(option.name);
  }
  const auto near = reference::near_matches(name, names, 1);
  if (!near.empty()) throw Misuse{fmt::format("unknown option '{}': did you mean '{}'?", name, near[0])};
  throw Misuse{fmt::format("unknown option '{}'; `nixery help {}` lists them", name, command.name)};
}

}  // namespace

Arguments Arguments::parse(const Command& command, Words words) {
  Arguments arguments;
  bool options_ended = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (options_ended || !word.starts_with("-") || word == "-") {
      if (!*command.operands) throw Misuse{fmt::format("'{}': {} takes options only", word, command.name)};
      arguments.operands_.push_back(word);
      continue;
    }
    if (word == "--") {
      options_ended = true;
      continue;
    }
    const auto equals = word.find('=');
    const Option& option = find_option(command, word.substr(0, equals));
    std::string_view value;
    if (option.value) {
      if (equals != word.npos)
        value = word.substr(equals + 1);
      else if (++i < words.size())
        value = words[i];
      if (value.empty()) throw Misuse{fmt::format("{} needs a value: {} {}", option.name, option.name, option.value)};
    } else if (equals != word.npos) {
      throw Misuse{fmt::format("{} takes no value", option.name)};
    }
    arguments.options_.emplace_back(option.name, value);
  }
  return arguments;
}

bool Arguments::has(std::string_view option) const {
  return std::ranges::any_of(options_, [&](const auto& given) { return given.first == option; });
}

std::optional<std::string_view> Arguments::value(std::string_view option) const {
  const auto all = values(option);
  if (all.empty()) return std::nullopt;
  return all.back();
}

std::vector<std::string_view> Arguments::values(std::string_view option) const {
  std::vector<std::string_view> all;
  for (const auto& [name, value] : options_)
    if (name == option) all.push_back(value);
  return all;
}

std::string Arguments::value_or(std::string_view option, std::string_view fallback) const {
  return std::string(value(option).value_or(fallback));
}

std::string_view the_one_image(const Arguments& arguments) {
  const auto& words = arguments.operands();
  if (words.empty()) throw Misuse{"which image? Name its packages, as in shell/git"};
  if (words.size() > 1)
    throw Misuse{"one image at a time: packages of one image are joined by slashes, as in shell/git"};
  return words[0];
}

}  // namespace nixery::command
