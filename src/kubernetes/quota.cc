#include "kubernetes/quota.h"

#include <iterator>

namespace nixery::kubernetes {

namespace {

std::string namespace_of(const std::string& key) {
  return key.substr(0, key.find('/'));
}

}  // namespace

std::string Quota::first_over(const std::string& namespace_name) const {
  const auto at = namespaces_.find(namespace_name);
  if (most_ == 0 || at == namespaces_.end() || at->second.size() <= most_) return {};
  return std::next(at->second.begin(), most_)->second;
}

std::vector<std::string> Quota::add(const NixImage& image) {
  const std::string key = image.key();
  if (const auto known = created_.find(key); known != created_.end()) {
    if (known->second == image.created) return {};
    remove(key);
  }
  created_[key] = image.created;
  namespaces_[image.namespace_name].emplace(image.created, key);
  // If it is within the quota itself, it displaced the image that is now the first one over it.
  const std::string pushed = first_over(image.namespace_name);
  if (pushed.empty() || pushed == key || is_over(key)) return {};
  return {pushed};
}

std::vector<std::string> Quota::remove(const std::string& key) {
  const auto known = created_.find(key);
  if (known == created_.end()) return {};
  const std::string namespace_name = namespace_of(key), next = first_over(namespace_name);
  const bool was_over = is_over(key);
  auto& of_namespace = namespaces_[namespace_name];
  of_namespace.erase({known->second, key});
  if (of_namespace.empty()) namespaces_.erase(namespace_name);
  created_.erase(known);
  if (next.empty() || was_over) return {};
  return {next};
}

void Quota::clear() {
  namespaces_.clear();
  created_.clear();
}

bool Quota::is_over(const std::string& key) const {
  const auto known = created_.find(key);
  if (known == created_.end()) return false;
  const std::string first = first_over(namespace_of(key));
  return !first.empty() && Age{known->second, key} >= Age{created_.at(first), first};
}

}  // namespace nixery::kubernetes
