// Lines end with '\n'; a '\r' before it belongs to the line. Pure.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nixery::text {

// Visits each line, without its newline; the last one may lack it. An empty text has no lines.
template <typename Visit>
void for_each_line(std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    visit(line);
  }
}

// `text` up to and including the last newline, that is, without a line that is still being written. Empty if there is
// no newline.
constexpr std::string_view whole_lines(std::string_view text) {
  return text.substr(0, text.rfind('\n') + 1);
}

constexpr std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find('\n'));
}

inline std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> list;
  for_each_line(text, [&](std::string_view line) { list.emplace_back(line); });
  return list;
}

// Splits at every separator; an empty text is one empty part.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (auto end = text.find(separator); end != text.npos; end = text.find(separator)) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.push_back(text);
  return parts;
}

// Collects the lines of a text that arrives in pieces.
class LineBuffer {
 public:
  // Visits each line that ends in `bytes`. If `visit` throws, the bytes after that line are lost.
  template <typename Visit>
  void add(std::string_view bytes, Visit&& visit) {
    for (auto end = bytes.find('\n'); end != bytes.npos; end = bytes.find('\n')) {
      rest_.append(bytes.substr(0, end));
      bytes.remove_prefix(end + 1);
      visit(std::string_view(take_rest()));
    }
    rest_.append(bytes);
  }

  // The incomplete last line. Its length is not limited here; the caller must limit it.
  const std::string& rest() const { return rest_; }
  std::string take_rest() { return std::exchange(rest_, {}); }

 private:
  std::string rest_;
};

}  // namespace nixery::text
