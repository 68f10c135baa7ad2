#include "settings_file.h"

#include <algorithm>

#include "text/ascii.h"

namespace nixery {

namespace {

constexpr std::string_view blanks = " \t", line_ends = "\n\r";

bool is_one_of(char c, std::string_view set) {
  return set.find(c) != set.npos;
}

bool is_name(std::string_view text) {
  return !text.empty() && !text::is_digit(text[0]) &&
         text::all(text, [](char c) { return text::is_alnum(c) || c == '_'; });
}

std::string_view without_blanks_behind(std::string_view text) {
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

// Consumes text from the front.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool done() const { return rest_.empty(); }
  char next() const { return rest_.front(); }
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  void skip(std::string_view set) {
    while (!done() && is_one_of(next(), set)) take();
  }
  void skip_comment() {
    while (!done() && !is_one_of(next(), line_ends))
      if (take() == '\\' && !done()) take();
  }
  // Reads up to '=' and consumes it; empty if the line has none.
  std::string_view name() {
    const auto end = std::min(rest_.find_first_of("=\n\r"), rest_.size());
    const std::string_view name = rest_.substr(0, end);
    rest_.remove_prefix(end);
    if (done() || take() != '=') return {};
    return without_blanks_behind(name);
  }
  // Reads to the end of the line: any sequence of quoted and bare parts.
  std::string value() {
    std::string value;
    for (;;) {
      skip(blanks);
      if (done() || is_one_of(next(), line_ends)) return value;
      if (next() == '\'')
        value += single_quoted();
      else if (next() == '"')
        value += double_quoted();
      else
        return value + bare();
    }
  }

 private:
  std::string single_quoted() {
    std::string part;
    for (take(); !done();) {
      const char c = take();
      if (c == '\'') break;
      part += c;
    }
    return part;
  }

  std::string double_quoted() {
    std::string part;
    for (take(); !done();) {
      const char c = take();
      if (c == '"') break;
      if (c != '\\' || done()) {
        part += c;
        continue;
      }
      const char escaped = take();
      if (escaped == '\n') continue;
      if (!is_one_of(escaped, "\"\\`$")) part += c;
      part += escaped;
    }
    return part;
  }

  // Quotes inside a bare part are literal.
  std::string bare() {
    std::string part;
    std::size_t kept = 0;  // length without trailing blanks
    while (!done() && !is_one_of(next(), line_ends)) {
      char c = take();
      const bool escaped = c == '\\' && !done();
      if (escaped) c = take();
      if (escaped && is_one_of(c, line_ends)) continue;
      part += c;
      if (escaped || !is_one_of(c, blanks)) kept = part.size();
    }
    part.resize(kept);
    return part;
  }

  std::string_view rest_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> parse_settings_file(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> variables;
  for (Reader reader(text); reader.skip(" \t\n\r"), !reader.done();) {
    if (is_one_of(reader.next(), "#;")) {
      reader.skip_comment();
      continue;
    }
    const std::string name(reader.name());
    if (name.empty()) continue;
    std::string value = reader.value();
    if (is_name(name)) variables.emplace_back(name, std::move(value));
  }
  return variables;
}

}  // namespace nixery
