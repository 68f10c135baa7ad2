#include "reference/accounts.h"

#include <fmt/format.h>

#include <algorithm>

#include "reference/base_users.h"
#include "text/ascii.h"
#include "text/number.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

constexpr std::size_t max_account_name = 32;

template <typename Items>
std::string names_of(const Items& items) {
  std::string names;
  for (const auto& item : items) names += (names.empty() ? "" : ", ") + item.name;
  return names;
}

}  // namespace

bool is_account_name(std::string_view text) {
  if (text.empty() || text.size() > max_account_name || !(text::is_lower(text[0]) || text[0] == '_')) return false;
  return text::all(text, [](char c) { return text::is_lower(c) || text::is_digit(c) || c == '_' || c == '-'; });
}

std::optional<std::uint32_t> account_id(std::string_view text) {
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  const auto id = text::number<std::uint32_t>(text);
  return id && *id <= max_account_id ? id : std::nullopt;
}

Accounts::Accounts() {
  for (const BaseUser& each : base_users) users_.push_back({std::string(each.name), {each.id, each.id}});
  for (const BaseGroup& each : base_groups) groups_.push_back({std::string(each.name), each.id});
}

const Accounts::User* Accounts::user(std::string_view name) const {
  const auto found = std::ranges::find(users_, name, &User::name);
  return found == users_.end() ? nullptr : &*found;
}

const Accounts::Group* Accounts::group(std::string_view name) const {
  const auto found = std::ranges::find(groups_, name, &Group::name);
  return found == groups_.end() ? nullptr : &*found;
}

std::optional<std::string> Accounts::add(const DeclaredUser& added) {
  if (user(added.name)) return fmt::format("the user '{}' exists already", added.name);
  for (const User& other : users_)
    if (other.owner.uid == added.uid) return fmt::format("the uid {} is that of '{}'", added.uid, other.name);
  // A group of the user's name comes with a gid that has no group yet.
  const bool is_new = std::ranges::find(groups_, added.gid, &Group::gid) == groups_.end();
  if (is_new && group(added.name)) return fmt::format("the group '{}' exists already, with another gid", added.name);
  users_.push_back({added.name, {added.uid, added.gid}});
  if (is_new) groups_.push_back({added.name, added.gid});
  return std::nullopt;
}

std::optional<Accounts::Identity> Accounts::find(std::string_view text, std::string& problem) const {
  const auto colon = text.find(':');
  const std::string_view first = text.substr(0, colon);
  Identity identity;
  if (const auto uid = account_id(first)) {
    identity.numbers = first;
    identity.owner = {*uid, *uid};
    if (const auto known = std::ranges::find(users_, *uid, [](const User& each) { return each.owner.uid; });
        known != users_.end())
      identity.owner = known->owner;
  } else if (const User* known = user(first)) {
    identity.owner = known->owner;
    identity.numbers = fmt::format("{}:{}", known->owner.uid, known->owner.gid);
  } else {
    problem =
        fmt::format("{} is not a user of the image, which has {}: give one of them, a number, or add it to 'users'",
                    text::in_quotes(first), names_of(users_));
    return std::nullopt;
  }
  if (colon == text.npos) return identity;

  const std::string_view second = text.substr(colon + 1);
  if (const auto gid = account_id(second)) {
    identity.owner.gid = *gid;
  } else if (const Group* known = group(second)) {
    identity.owner.gid = known->gid;
  } else {
    problem = fmt::format("{} is not a group of the image, which has {}: give one of them or a number",
                          text::in_quotes(second), names_of(groups_));
    return std::nullopt;
  }
  identity.numbers = fmt::format("{}:{}", identity.owner.uid, identity.owner.gid);
  return identity;
}

}  // namespace nixery::reference
