// What one check of a set-up found, and how to fix it.
#pragma once

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
  std::string seen;  // a sentence without its stop; never a secret
  std::string fix;   // what to do; empty where all is well
};

inline Finding ok(std::string name, std::string seen) {
  return {std::move(name), Verdict::ok, std::move(seen), {}};
}
inline Finding warning(std::string name, std::string seen, std::string fix) {
  return {std::move(name), Verdict::warning, std::move(seen), std::move(fix)};
}
inline Finding failure(std::string name, std::string seen, std::string fix) {
  return {std::move(name), Verdict::failure, std::move(seen), std::move(fix)};
}

}  // namespace nixery::doctor
