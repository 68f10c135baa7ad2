#include "attestations/license.h"

#include <algorithm>
#include <optional>

#include "attestations/license_ids.h"
#include "image/digest.h"
#include "text/ascii.h"

namespace nixery::attestations {

namespace {

constexpr std::string_view ref_prefix = "LicenseRef-";
constexpr int depth_limit = 20;  // of parentheses; no licence needs more than two

bool is_id_character(char c) {
  return text::is_alnum(c) || c == '.' || c == '-';
}

// Different names must not share a reference, so a hash is added to names that had to be changed.
std::string ref_for(std::string_view name) {
  const bool plain = text::all(name, is_id_character) && name.size() <= 60;
  if (plain && name.starts_with(ref_prefix) && name.size() > ref_prefix.size()) return std::string(name);
  std::string slug(name.substr(0, 60));
  std::replace_if(
      slug.begin(), slug.end(), [](char c) { return !is_id_character(c); }, '-');
  return "LicenseRef-nix-" + slug + (plain ? "" : "-" + image::Digest::of(name).hex().substr(0, 8));
}

std::vector<std::string_view> tokens_of(std::string_view text) {
  std::vector<std::string_view> tokens;
  for (std::size_t at = 0; (at = text.find_first_not_of(" \t\n", at)) != text.npos;) {
    const bool parenthesis = text[at] == '(' || text[at] == ')';
    const auto end = parenthesis ? at + 1 : std::min(text.find_first_of(" \t\n()", at), text.size());
    tokens.push_back(text.substr(at, end - at));
    at = end;
  }
  return tokens;
}

bool is_operator(std::string_view token) {
  return token == "AND" || token == "OR" || token == "WITH";
}

// Annex D.4: WITH binds closest, then AND, then OR. Fails on malformed text; a word that is not a listed identifier
// becomes a LicenseRef.
class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(tokens_of(text)) {}

  std::optional<License> parse() {
    auto text = chain("OR", 0);
    if (!text || next_ != tokens_.size()) return std::nullopt;
    license_.expression = *std::move(text);
    if (tokens_.size() > 1 || tokens_[0].ends_with('+')) license_.kind = License::Kind::expression;
    // Some listed identifiers end in a plus.
    if (tokens_.size() == 1 && spdx_license(tokens_[0])) license_.kind = License::Kind::identifier;
    return std::move(license_);
  }

 private:
  std::optional<std::string> chain(std::string_view joint, int depth) {
    const auto operand = [&] { return joint == "OR" ? chain("AND", depth) : simple(depth); };
    auto text = operand();
    while (text && take(joint)) {
      const auto more = operand();
      if (!more) return std::nullopt;
      text->append(" ").append(joint).append(" ").append(*more);
    }
    return text;
  }

  std::optional<std::string> simple(int depth) {
    if (take("(")) {
      const auto inner = depth < depth_limit ? chain("OR", depth + 1) : std::nullopt;
      if (!inner || !take(")")) return std::nullopt;
      return "(" + *inner + ")";
    }
    if (next_ == tokens_.size() || is_operator(tokens_[next_]) || tokens_[next_] == ")") return std::nullopt;
    std::string text = identifier(tokens_[next_++]);
    if (take("WITH")) {
      const auto exception = next_ < tokens_.size() ? spdx_exception(tokens_[next_++]) : std::nullopt;
      if (!exception) return std::nullopt;
      text.append(" WITH ").append(*exception);
    }
    return text;
  }

  std::string identifier(std::string_view token) {
    if (const auto known = spdx_license(token)) return std::string(*known);
    if (token.ends_with('+'))
      if (const auto known = spdx_license(token.substr(0, token.size() - 1))) return std::string(*known) + "+";
    const std::string ref = ref_for(token);
    license_.refs.emplace(ref, token);
    return ref;
  }

  bool take(std::string_view token) {
    if (next_ == tokens_.size() || tokens_[next_] != token) return false;
    ++next_;
    return true;
  }

  std::vector<std::string_view> tokens_;
  std::size_t next_ = 0;
  License license_;
};

bool is_disjunction(std::string_view expression) {
  return expression.find(" OR ") != expression.npos;
}

}  // namespace

License license_of(std::string_view given) {
  if (auto parsed = Parser(given).parse()) return *std::move(parsed);
  const std::string ref = ref_for(given);
  return {License::Kind::other, ref, {{ref, std::string(given)}}};
}

std::string joined_expression(const std::vector<License>& licenses) {
  std::string all;
  for (const License& license : licenses) {
    if (!all.empty()) all += " AND ";
    const bool group = licenses.size() > 1 && is_disjunction(license.expression);
    all += group ? "(" + license.expression + ")" : license.expression;
  }
  return all;
}

}  // namespace nixery::attestations
