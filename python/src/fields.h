// SPDX-License-Identifier: Apache-2.0
// Python values as the fields of the API's structs, by tables of names.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <type_traits>

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace lanner::python {

namespace nb = nanobind;

// A Python value as a T. Throws TypeError with the field's name, its type and the value.
template <typename T>
T cast_field(nb::handle value, const char* field, const char* expected) {
  T result{};
  if (nb::try_cast<T>(value, result)) return result;
  const std::string text = nb::cast<std::string>(nb::repr(value));
  throw nb::type_error(
      (std::string(field) + ": expected " + expected + ", got " + text.substr(0, 200)).c_str());
}

// One field of a struct: its name in Python, how a value gets into it, and out of it if that is
// ever asked for.
template <typename Struct>
struct Field {
  const char* name;
  void (*set)(Struct&, nb::handle value, const char* name);
  nb::object (*get)(const Struct&) = nullptr;
};

// What a field's type is called in an error.
template <typename T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "a bool";
  if constexpr (std::is_same_v<T, std::string>) return "a str";
  if constexpr (std::is_integral_v<T>) return sizeof(T) == 4 ? "an int of 32 bits" : "an int";
  if constexpr (std::is_floating_point_v<T>) return "a float";
  return "another type";
}
template <typename T>
struct TypeName {
  static constexpr const char* value = type_name<T>();
};
template <typename T>
struct TypeName<std::optional<T>> {
  static constexpr const char* value = type_name<T>();
};
template <typename T>
struct TypeName<std::vector<T>> {
  static constexpr const char* value =
      std::is_same_v<T, std::string> ? "a list of str" : "a list of ints";
};

template <typename Struct, typename T>
Struct struct_of(T Struct::*);

// The field of a struct's member, e.g. member<&Request::priority>("priority").
template <auto Member>
constexpr auto member(const char* name) {
  using Struct = decltype(struct_of(Member));
  return Field<Struct>{name,
                       [](Struct& target, nb::handle value, const char* field) {
                         using T = std::remove_cvref_t<decltype(target.*Member)>;
                         target.*Member = cast_field<T>(value, field, TypeName<T>::value);
                       },
                       [](const Struct& source) { return nb::cast(source.*Member); }};
}

// Sets the fields that a dict names. Throws TypeError for a name that is none of them.
template <typename Struct>
void set_fields(Struct& target, const nb::dict& values, std::span<const Field<Struct>> fields) {
  for (const auto& [key, value] : values) {
    const std::string name = nb::cast<std::string>(key);
    const auto found = std::find_if(fields.begin(), fields.end(),
                                    [&](const Field<Struct>& field) { return name == field.name; });
    if (found == fields.end()) throw nb::type_error(("there is no field '" + name + "'").c_str());
    found->set(target, value, found->name);
  }
}

}  // namespace lanner::python
