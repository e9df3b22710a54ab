/// The reason why the environment of a test could not be set up, in words for people.
package struct TestFailure: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
