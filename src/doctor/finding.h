// What one check of a set-up found, and how to fix it.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

namespace nixery::doctor {

enum class Verdict { ok, warning, failure };

inline const char* name_of(Verdict verdict) {
  return verdict == Verdict::ok ? "ok" : verdict == Verdict::warning ? "warning" : "failure";
}

struct Finding {
  std::string name;  // of the check: "tree.nginx"; programs count on it
  Verdict verdict = Verdict::ok;
  std::string seen;     // a sentence without its stop; never a secret
  std::string fix;      // what to do; empty where all is well
  std::string command;  // a line for root's shell that does it as it stands; empty where a person has to choose
};

inline Finding ok(std::string name, std::string seen) {
  return {std::move(name), Verdict::ok, std::move(seen), {}, {}};
}
inline Finding warning(std::string name, std::string seen, std::string fix, std::string command = {}) {
  return {std::move(name), Verdict::warning, std::move(seen), std::move(fix), std::move(command)};
}
inline Finding failure(std::string name, std::string seen, std::string fix, std::string command = {}) {
  return {std::move(name), Verdict::failure, std::move(seen), std::move(fix), std::move(command)};
}

// Quotes any text as one word of a shell command.
inline std::string shell_word(const std::filesystem::path& path) {
  const std::string text = path.string();
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%=,";
  if (!text.empty() && text.find_first_not_of(plain) == text.npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

}  // namespace nixery::doctor
